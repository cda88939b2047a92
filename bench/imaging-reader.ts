/** The process that bench/imaging.ts measures: reads one folder, says what it took, ends. */
import path from 'node:path';
import { readPrivateImages } from '../site-agent/imaging/read-dataset.ts';

interface Order {
  readonly folder: string;
  readonly cache?: string;
  readonly everyPixel: boolean;
  readonly threads: number;
}

process.once('message', (order: Order) => void read(order));

async function read({ folder, cache, everyPixel, threads }: Order): Promise<void> {
  const began = performance.now();
  const { images } = await readPrivateImages(path.join(folder, 'ct'), {
    size: 64,
    channels: 1,
    onBadFile: 'refuse',
    everyPixel,
    threads,
    ...(cache === undefined ? {} : { cache: { path: cache, key: new Uint8Array(32) } }),
  });
  const seconds = (performance.now() - began) / 1000;
  const { user, system } = process.cpuUsage();
  // Kilobytes, of the process with all its threads, since it began.
  const peakBytes = process.resourceUsage().maxRSS * 1024;
  process.send!({ images: images.n, seconds, cpuSeconds: (user + system) / 1e6, peakBytes });
  process.disconnect();
}
