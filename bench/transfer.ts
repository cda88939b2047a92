import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createSiteKeys } from '../shared/identity/keys.ts';
import { uploadTensor } from '../shared/protocol/tensor-transfer.ts';
import { connect, type SiteConnection } from '../site-agent/shell/connection.ts';
import { joinWithInvite } from '../site-agent/shell/join.ts';

/** Values in one update: ten million parameters, four bytes each. */
const PARAMETERS = 10_000_000;
const MIB = 2 ** 20;

type Report = (row: { case: string; value: number; unit: string; target?: string; holds?: boolean }) => void;

/**
 * Memory and throughput of a coordinator that takes a 10-million-parameter update from every site at once, over TLS, into
 * files. The sites are connections of this process; the coordinator is another one, whose resident set is sampled every
 * 5 ms. Each case has a fresh coordinator.
 * @param args - numbers of sites; 3 and 30 without any.
 */
async function run(args: string[], report: Report): Promise<void> {
  const cases = args.map(Number).filter((n) => Number.isInteger(n) && n > 0);
  const counts = cases.length > 0 ? cases : [3, 30];
  const peaks: number[] = [];
  for (const sites of counts) {
    const { peakBytes, idleBytes, seconds } = await upload(sites, PARAMETERS * 4);
    peaks.push(peakBytes);
    report({ case: `${sites} sites: coordinator peak RSS`, value: round(peakBytes / MIB), unit: 'MiB' });
    report({ case: `${sites} sites: connected, before the first byte`, value: round(idleBytes / MIB), unit: 'MiB' });
    report({
      case: `${sites} sites: throughput`,
      value: round((sites * PARAMETERS * 4) / 1e6 / seconds),
      unit: 'MB/s',
    });
  }
  const growth = (Math.max(...peaks) - Math.min(...peaks)) / MIB;
  report({
    case: `peak RSS, ${counts.join(' against ')} sites: difference`,
    value: round(growth),
    unit: 'MiB',
    target: '<= 64',
    holds: growth <= 64,
  });
}

async function upload(
  sites: number,
  bytes: number,
): Promise<{ peakBytes: number; idleBytes: number; seconds: number }> {
  const child = fork(join(import.meta.dirname, 'transfer-coordinator.ts'), { execArgv: [] });
  const links: SiteConnection[] = [];
  try {
    await once(child, 'message');
    for (let i = 0; i < sites; i++) {
      const keys = createSiteKeys();
      const invite = String(await ask(child, { ask: 'invite', siteId: `site-${i}` }));
      const link = connect({ ...(await joinWithInvite(invite, keys)), keys });
      links.push(link);
      await link.ready();
    }
    const idleBytes = Number(await ask(child, { ask: 'peak' }));
    const update = new Uint8Array(bytes).map((_, i) => (i * 2654435761) >>> 24);
    const start = performance.now();
    await Promise.all(links.map((link) => uploadTensor(link, update, { purpose: 'bench' })));
    const seconds = (performance.now() - start) / 1000;
    return { peakBytes: Number(await ask(child, { ask: 'peak' })), idleBytes, seconds };
  } finally {
    for (const link of links) await link.close();
    child.send({ ask: 'stop' });
    await once(child, 'exit');
  }
}

async function ask(child: ChildProcess, message: object): Promise<unknown> {
  const reply = once(child, 'message');
  child.send(message);
  const [answer] = (await reply) as unknown[];
  return answer;
}

const round = (value: number): number => Math.round(value * 10) / 10;

export const bench = {
  name: 'transfer',
  summary: 'A 10-million-parameter update from 3 and from 30 sites: memory of the coordinator, throughput',
  run,
};
