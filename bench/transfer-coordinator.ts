import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { IdentityService } from '../coordinator/shell/identity-service.ts';
import { MemoryIdentityStore } from '../coordinator/shell/identity-store.ts';
import { startServer } from '../coordinator/shell/server.ts';
import { selfSignedTls } from '../coordinator/shell/tls.ts';
import { systemClock } from '../shared/clock.ts';
import { collectSeldom } from '../shared/collector.ts';
import { compileLoopsApart } from '../shared/compiler.ts';
import { createSigningKeys } from '../shared/identity/keys.ts';
import { FileBlobStore } from '../shared/protocol/file-blob-store.ts';
import { TensorReceiver } from '../shared/protocol/tensor-receiver.ts';

/** The coordinator of `transfer.ts`: a process of its own, so that its memory is its own. Speaks over Node's IPC channel. */
const folder = await mkdtemp(join(tmpdir(), 'veilgan-transfer-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

// As `veilgan coordinator run` does.
collectSeldom();
compileLoopsApart();
const identity = await IdentityService.open(createSigningKeys(), new MemoryIdentityStore(), systemClock);
const receiver = new TensorReceiver({
  store: new FileBlobStore(folder),
  allow: () => 64 * 2 ** 20,
  readable: () => null,
  clock: systemClock,
});
const server = await startServer({
  tls: await selfSignedTls('127.0.0.1', Date.now()),
  identity,
  handler: {
    handle: async (siteId, type, payload) => ({ ok: true, body: await receiver.handle(siteId, type, payload) }),
    onWake: () => () => undefined,
  },
});
const url = `https://127.0.0.1:${server.port}`;

let peak = 0;
const sampler = setInterval(() => (peak = Math.max(peak, process.memoryUsage.rss())), 5);

process.on('message', (message: { ask: 'invite'; siteId: string } | { ask: 'peak' } | { ask: 'stop' }) => {
  void (async () => {
    if (message.ask === 'invite') {
      const { invite } = await identity.invite({ siteId: message.siteId, url, tlsFingerprint: server.tlsFingerprint });
      process.send!(invite);
    } else if (message.ask === 'peak') {
      process.send!(Math.max(peak, process.memoryUsage.rss()));
      peak = 0;
    } else {
      clearInterval(sampler);
      await server.close();
      process.exit(0);
    }
  })();
});
process.send!('ready');
