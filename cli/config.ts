/** What the environment may say. Nowhere else is `process.env` read, and nothing here can change what a run does. */
export interface Environment {
  /** `VEILGAN_DEBUG=1`: a failure shows its whole stack, for a report to us. */
  readonly debug: boolean;
}

export function environment(env: NodeJS.ProcessEnv = process.env): Environment {
  return { debug: !['', '0', undefined].includes(env['VEILGAN_DEBUG']) };
}
