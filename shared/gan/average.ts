/** `decay` of the average and the rest of the newest values: how the generator that is released is made. [d] */
export function movingAverage(average: Float32Array, newest: Float32Array, decay: number): Float32Array {
  return average.map((a, i) => decay * a + (1 - decay) * newest[i]);
}
