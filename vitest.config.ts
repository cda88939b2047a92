import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

// `test:slow` sets VEILGAN_SLOW=1 and runs the audits under test/slow as well; `check` sets VEILGAN_FAST=1.
const slow = process.env['VEILGAN_SLOW'] === '1';
const fast = process.env['VEILGAN_FAST'] === '1';

/** What `check` leaves to `npm test`: whole processes, and files that train networks or take seconds for another reason. */
const LEFT_OUT_OF_CHECK = [
  'test/{e2e,reference,semantics}/**',
  'test/golden/imaging-{real-data,dicom-digests}.test.ts',
  'test/property/*-{crash,kill}.test.ts',
  'test/property/{audit-mutation,dp-accountants,imaging-*damage,metrics-reader-bootstrap,secagg-masks}.test.ts',
  'test/unit/{attack-mechanism,bfv-worker,round-clear,secagg-graph,study-results}.test.ts',
  'test/unit/gan-generator-trainer.test.ts',
  'test/unit/imaging-{burned-in,folder,phantom}.test.ts',
  'test/unit/metrics-{classifier,evaluate-sets,neighbours,positive-controls}.test.ts',
  'test/unit/site-hold-out.test.ts',
];

export default defineConfig({
  test: {
    include: slow ? ['test/**/*.test.ts'] : ['test/!(slow)/**/*.test.ts'],
    exclude: fast ? LEFT_OUT_OF_CHECK : [],
    testTimeout: slow ? 1_800_000 : 120_000,
    hookTimeout: 120_000,
    pool: 'forks',
    maxWorkers: 2,
    // Hundreds of commands are started: each finds its code compiled.
    env: { NODE_COMPILE_CACHE: join(import.meta.dirname, 'node_modules/.cache/compiled') },
    // One process for many files is sooner done; in `npm test` no file sees what another left.
    isolate: !fast,
  },
});
