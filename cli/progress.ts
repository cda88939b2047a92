import { SingleBar } from 'cli-progress';

/** Where a command tells a person, or a machine, how far it is. */
export interface Progress {
  /** @param share - in [0, 1]; anything else is drawn at the nearer end. */
  update(share: number, note?: string): void;
  /** A line that stays. */
  line(text: string): void;
  stop(): void;
}

/**
 * A bar on a terminal; elsewhere one line for every tenth, so that a log file stays readable.
 * @param label - what is going on, at most 24 characters.
 */
export function progress(label: string, out: NodeJS.WriteStream = process.stderr): Progress {
  return out.isTTY ? barOnTerminal(label, out) : linesInFile(label, out);
}

function barOnTerminal(label: string, out: NodeJS.WriteStream): Progress {
  const bar = new SingleBar({
    format: `${label.padEnd(18)} {bar} {percentage}% {eta_formatted} {note}`,
    stream: out,
    hideCursor: true,
    barsize: 24,
    etaBuffer: 30,
  });
  bar.start(1000, 0, { note: '' });
  return {
    update: (share, note = '') => bar.update(Math.round(1000 * clamp(share)), { note }),
    line: (text) => {
      out.write(`\r\x1b[2K${text}\n`);
      bar.render();
    },
    stop: () => bar.stop(),
  };
}

function linesInFile(label: string, out: NodeJS.WriteStream): Progress {
  let tenth = -1;
  const began = performance.now();
  return {
    update(share, note = '') {
      const now = Math.floor(10 * clamp(share));
      if (now <= tenth) return;
      tenth = now;
      const left = ((performance.now() - began) / 1000) * (1 / clamp(share) - 1);
      const about = now > 0 && now < 10 && left > 5 ? `, about ${Math.round(left)} s left` : '';
      out.write(`${`${label} ${now * 10}% ${note}`.trimEnd()}${about}\n`);
    },
    line: (text) => void out.write(`${text}\n`),
    stop: () => undefined,
  };
}

const clamp = (share: number) => (share >= 0 ? Math.min(1, share) : 0);
