/** Writes small NIfTI-1 volumes for tests. */

export interface NiftiOptions {
  /** [nx, ny, nz] or with a fourth. */
  readonly dims: readonly number[];
  /** [3][4], from array indices to millimetres right, front and up. */
  readonly affine: readonly (readonly number[])[];
  readonly slope?: number;
  readonly inter?: number;
  readonly bigEndian?: boolean;
  /** Goes into `descrip`, `aux_file`, `intent_name` and `db_name`. */
  readonly text?: string;
}

/** A volume of 16-bit values, x fastest. */
export function niftiFile(values: readonly number[], o: NiftiOptions): Buffer {
  const little = o.bigEndian !== true;
  const out = Buffer.alloc(352 + values.length * 2);
  const view = new DataView(out.buffer, out.byteOffset, out.length);
  const [dims, spacing] = [o.dims, [0, 1, 2].map((j) => Math.hypot(...o.affine.map((row) => row[j])))];
  view.setInt32(0, 348, little);
  [dims.length, ...dims].forEach((n, i) => view.setInt16(40 + 2 * i, n, little));
  view.setInt16(70, 4, little);
  view.setInt16(72, 16, little);
  [1, ...spacing].forEach((x, i) => view.setFloat32(76 + 4 * i, x, little));
  view.setFloat32(108, 352, little);
  view.setFloat32(112, o.slope ?? 0, little);
  view.setFloat32(116, o.inter ?? 0, little);
  view.setInt16(254, 1, little);
  o.affine.forEach((row, i) => row.forEach((x, j) => view.setFloat32(280 + 16 * i + 4 * j, x, little)));
  for (const [at, length] of [[14, 18], [148, 80], [228, 24], [328, 16]] as const) out.write((o.text ?? '').slice(0, length), at, 'latin1'); // prettier-ignore
  out.write('n+1\0', 344, 'latin1');
  values.forEach((x, i) => view.setInt16(352 + 2 * i, x, little));
  return out;
}
