/** A turn of the event loop for everybody else: between two pieces of long work that waits for nothing. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
