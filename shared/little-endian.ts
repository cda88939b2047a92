/** Whether this machine's words are, as bytes, what goes over the wire and into files; where not, they are swapped. */
export const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
