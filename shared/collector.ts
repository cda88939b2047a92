import { setFlagsFromString } from 'node:v8';

/**
 * Lets the heap grow to four times what is in use before all of it is looked through. For processes that take a step of a
 * round again and again: vectors of every step count against the heap, and by default V8 looked through 38 MB twice a step,
 * which took more processor time than the whole protocol. A speed setting: it costs memory and changes nothing else.
 */
export function collectSeldom(): void {
  setFlagsFromString('--heap-growing-percent=300');
  // Vectors lie outside the heap, and have a limit of their own, of 64 MB, unless they count as part of it.
  setFlagsFromString('--external-memory-accounted-in-global-limit');
}
