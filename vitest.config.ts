import { defineConfig } from 'vitest/config';

// `test:slow` sets VEILGAN_SLOW=1 and runs the audits under test/slow as well.
const slow = process.env['VEILGAN_SLOW'] === '1';

export default defineConfig({
  test: {
    include: slow ? ['test/**/*.test.ts'] : ['test/!(slow)/**/*.test.ts'],
    testTimeout: slow ? 1_800_000 : 120_000,
    hookTimeout: 120_000,
    pool: 'forks',
    maxWorkers: 2,
  },
});
