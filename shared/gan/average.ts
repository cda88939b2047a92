/** `decay` of the average and the rest of the newest values: how the generator that is released is made. [d] */
export function movingAverage(average: Float32Array, newest: Float32Array, decay: number): Float32Array {
  const next = new Float32Array(average.length);
  for (let i = 0; i < next.length; i++) next[i] = decay * average[i] + (1 - decay) * newest[i];
  return next;
}
