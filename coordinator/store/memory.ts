import { EMPTY_LOG, appendEntry, headAfter } from '../../shared/audit/log.ts';
import type { LogEntry } from '../../shared/audit/entry.ts';
import { canonicalJson } from '../../shared/audit/canonical.ts';
import { FedError } from '../../shared/errors.ts';
import type {
  AnswerRecord,
  GeneratorRecord,
  PhaseKey,
  RoundRecord,
  RunRecord,
  SiteRecord,
  Store,
  Tx,
  UploadRef,
} from './store.ts';
import { Serial } from './serial.ts';

interface Tables {
  readonly runs: Map<string, string>;
  readonly generators: Map<string, string>;
  readonly rounds: Map<string, string>;
  readonly answers: Map<string, string>;
  readonly downlinks: Map<string, string>;
  readonly sites: Map<string, string>;
  readonly logs: Map<string, readonly LogEntry[]>;
}

const empty = (): Tables => ({
  runs: new Map(),
  generators: new Map(),
  rounds: new Map(),
  answers: new Map(),
  downlinks: new Map(),
  sites: new Map(),
  logs: new Map(),
});
const copyOf = (t: Tables): Tables => ({
  runs: new Map(t.runs),
  generators: new Map(t.generators),
  rounds: new Map(t.rounds),
  answers: new Map(t.answers),
  downlinks: new Map(t.downlinks),
  sites: new Map(t.sites),
  logs: new Map(t.logs),
});
const pad = (n: number): string => String(n).padStart(10, '0');
const phaseKey = (k: PhaseKey): string => `${k.runId} ${pad(k.round)} ${pad(k.attempt)} ${pad(k.phase)} `;
const startingWith = (table: Map<string, string>, prefix: string): unknown[] =>
  [...table.entries()]
    .filter(([key]) => key.startsWith(prefix))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, json]) => JSON.parse(json) as unknown);
const read = <T>(json: string | undefined): T | null => (json === undefined ? null : (JSON.parse(json) as T));

/** For the simulator and for tests: the same promises as SQLite, except that it forgets with its process. */
export class MemoryStore implements Store {
  #tables = empty();
  readonly #serial = new Serial();

  transaction<T>(body: (tx: Tx) => Promise<T>): Promise<T> {
    return this.#serial.run(async () => {
      const draft = copyOf(this.#tables);
      const result = await body(new MemoryTx(draft));
      this.#tables = draft;
      return result;
    });
  }

  async close(): Promise<void> {}
}

/** Values are kept as JSON text, so that nobody holds a reference into the store. */
class MemoryTx implements Tx {
  readonly #t: Tables;
  constructor(tables: Tables) {
    this.#t = tables;
  }

  async run(runId: string) {
    return read<RunRecord>(this.#t.runs.get(runId));
  }
  async putRun(run: RunRecord) {
    this.#t.runs.set(run.runId, canonicalJson(run));
  }
  async generator(runId: string, round: number) {
    return read<GeneratorRecord>(this.#t.generators.get(`${runId} ${pad(round)}`));
  }
  async putGenerator(runId: string, generator: GeneratorRecord) {
    this.#t.generators.set(`${runId} ${pad(generator.round)}`, canonicalJson(generator));
  }
  async latestRound(runId: string) {
    return (startingWith(this.#t.rounds, `${runId} `).at(-1) as RoundRecord | undefined) ?? null;
  }
  async round(runId: string, round: number, attempt: number) {
    return read<RoundRecord>(this.#t.rounds.get(`${runId} ${pad(round)} ${pad(attempt)}`));
  }
  async putRound(record: RoundRecord) {
    const { runId, round, attempt } = record.plan;
    this.#t.rounds.set(`${runId} ${pad(round)} ${pad(attempt)}`, canonicalJson(record));
  }
  async addAnswer(key: PhaseKey, answer: AnswerRecord) {
    const at = phaseKey(key) + answer.siteId;
    if (this.#t.answers.has(at)) throw new FedError('STORE_CORRUPT', `second answer at ${at}`);
    this.#t.answers.set(at, canonicalJson(answer));
  }
  async answers(key: PhaseKey) {
    return startingWith(this.#t.answers, phaseKey(key)) as AnswerRecord[];
  }
  async uploadsOf(runId: string, round: number) {
    const records = startingWith(this.#t.answers, `${runId} ${pad(round)} `) as AnswerRecord[];
    return distinctUploads(
      records.flatMap(({ siteId, tensor }) => (tensor ? [{ siteId, sha256: tensor.sha256 }] : [])),
    );
  }
  async putDownlinks(key: PhaseKey, downlinks: ReadonlyMap<string, unknown>) {
    for (const [siteId, body] of downlinks) this.#t.downlinks.set(phaseKey(key) + siteId, canonicalJson(body));
  }
  async downlink(key: PhaseKey, siteId: string) {
    const json = this.#t.downlinks.get(phaseKey(key) + siteId);
    return json === undefined ? null : { body: JSON.parse(json) as unknown };
  }
  async sites(runId: string) {
    return startingWith(this.#t.sites, `${runId} `) as SiteRecord[];
  }
  async putSite(runId: string, site: SiteRecord) {
    this.#t.sites.set(`${runId} ${site.siteId}`, canonicalJson(site));
  }
  async logHead(runId: string) {
    const last = this.#t.logs.get(runId)?.at(-1);
    return last === undefined ? EMPTY_LOG : headAfter(last);
  }
  async appendLog(...[runId, draft, timeMs]: Parameters<Tx['appendLog']>) {
    const entry = appendEntry(await this.logHead(runId), draft, timeMs);
    this.#t.logs.set(runId, [...(this.#t.logs.get(runId) ?? []), entry]);
    return entry;
  }
  async log(runId: string, from: number, limit: number) {
    return (this.#t.logs.get(runId) ?? []).slice(from, from + limit);
  }
}

const distinctUploads = (uploads: readonly UploadRef[]): UploadRef[] =>
  [...new Map(uploads.map((u) => [`${u.siteId} ${u.sha256}`, u])).entries()]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, upload]) => upload);
