import { entryLeaf, headOf, makeEntry } from '../../shared/audit/log.ts';
import { EMPTY_FRONTIER, appendLeaf } from '../../shared/audit/merkle.ts';
import type { Frontier, Hash, NodeId, TreeNode } from '../../shared/audit/merkle.ts';
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
  StoredCheckpoint,
  Tx,
  UploadRef,
} from './store.ts';
import { Serial } from './serial.ts';

/** The log of one run: entries, and the tree's complete subtrees by `level/index`. */
interface Log {
  readonly entries: LogEntry[];
  readonly nodes: Map<string, Hash>;
  frontier: Frontier;
}
interface Appended {
  readonly entries: readonly LogEntry[];
  readonly nodes: readonly TreeNode[];
  readonly frontier: Frontier;
}
const nodeName = ({ level, index }: NodeId): string => `${level}/${index}`;

interface Tables {
  readonly runs: Map<string, string>;
  readonly generators: Map<string, string>;
  readonly rounds: Map<string, string>;
  readonly answers: Map<string, string>;
  readonly downlinks: Map<string, string>;
  readonly sites: Map<string, string>;
  readonly checkpoints: Map<string, string>;
  readonly cosignatures: Map<string, string>;
  /** What a transaction adds to the logs, which are too long to be copied for each. */
  readonly appended: Map<string, Appended>;
}

const empty = (): Tables => ({
  runs: new Map(),
  generators: new Map(),
  rounds: new Map(),
  answers: new Map(),
  downlinks: new Map(),
  sites: new Map(),
  checkpoints: new Map(),
  cosignatures: new Map(),
  appended: new Map(),
});
const copyOf = (t: Tables): Tables => ({
  runs: new Map(t.runs),
  generators: new Map(t.generators),
  rounds: new Map(t.rounds),
  answers: new Map(t.answers),
  downlinks: new Map(t.downlinks),
  sites: new Map(t.sites),
  checkpoints: new Map(t.checkpoints),
  cosignatures: new Map(t.cosignatures),
  appended: new Map(),
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
  readonly #logs = new Map<string, Log>();
  readonly #serial = new Serial();

  transaction<T>(body: (tx: Tx) => Promise<T>): Promise<T> {
    return this.#serial.run(async () => {
      const draft = copyOf(this.#tables);
      const result = await body(new MemoryTx(draft, this.#logs));
      this.#tables = draft;
      for (const [runId, { entries, nodes, frontier }] of draft.appended) {
        const log = this.#logs.get(runId) ?? { entries: [], nodes: new Map<string, Hash>(), frontier };
        log.entries.push(...entries);
        for (const node of nodes) log.nodes.set(nodeName(node), node.hash);
        log.frontier = frontier;
        this.#logs.set(runId, log);
      }
      return result;
    });
  }

  async close(): Promise<void> {}
}

/** Values are kept as JSON text, so that nobody holds a reference into the store. */
class MemoryTx implements Tx {
  readonly #t: Tables;
  readonly #logs: ReadonlyMap<string, Log>;
  constructor(tables: Tables, logs: ReadonlyMap<string, Log>) {
    this.#t = tables;
    this.#logs = logs;
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
  #frontier(runId: string): Frontier {
    return this.#t.appended.get(runId)?.frontier ?? this.#logs.get(runId)?.frontier ?? EMPTY_FRONTIER;
  }
  async logHead(runId: string) {
    return headOf(this.#frontier(runId));
  }
  async appendLog(...[runId, draft, timeMs]: Parameters<Tx['appendLog']>) {
    const before = this.#frontier(runId);
    const entry = makeEntry(before.size, draft, timeMs);
    const { frontier, complete } = appendLeaf(before, entryLeaf(entry));
    const { entries, nodes } = this.#t.appended.get(runId) ?? { entries: [], nodes: [] };
    this.#t.appended.set(runId, { entries: [...entries, entry], nodes: [...nodes, ...complete], frontier });
    return entry;
  }
  async log(runId: string, from: number, limit: number) {
    const stored = this.#logs.get(runId)?.entries ?? [];
    const appended = this.#t.appended.get(runId)?.entries ?? [];
    const end = from + limit;
    return [
      ...stored.slice(from, end),
      ...appended.slice(Math.max(0, from - stored.length), Math.max(0, end - stored.length)),
    ];
  }
  async logNodes(runId: string, ids: readonly NodeId[]) {
    const appended = new Map(this.#t.appended.get(runId)?.nodes.map((n) => [nodeName(n), n.hash]));
    return ids.map((id) => {
      const hash = appended.get(nodeName(id)) ?? this.#logs.get(runId)?.nodes.get(nodeName(id));
      if (hash === undefined) throw new FedError('STORE_CORRUPT', `no node ${nodeName(id)} in the log of ${runId}`);
      return hash;
    });
  }
  async putCheckpoint(runId: string, size: number, note: string) {
    const key = `${runId} ${pad(size)}`;
    if (!this.#t.checkpoints.has(key)) this.#t.checkpoints.set(key, canonicalJson({ size, note }));
  }
  async replaceCheckpoint(runId: string, size: number, note: string) {
    const key = `${runId} ${pad(size)}`;
    if (this.#t.checkpoints.has(key)) this.#t.checkpoints.set(key, canonicalJson({ size, note }));
  }
  async checkpoint(runId: string, size: number) {
    const stored = read<{ size: number; note: string }>(this.#t.checkpoints.get(`${runId} ${pad(size)}`));
    return stored && this.#withCosignatures(runId, stored);
  }
  async checkpoints(runId: string, fromSize: number) {
    const all = startingWith(this.#t.checkpoints, `${runId} `) as { size: number; note: string }[];
    return all.filter((c) => c.size >= fromSize).map((c) => this.#withCosignatures(runId, c));
  }
  #withCosignatures(runId: string, c: { size: number; note: string }): StoredCheckpoint {
    const lines = startingWith(this.#t.cosignatures, `${runId} ${pad(c.size)} `);
    return { ...c, cosignatures: lines as StoredCheckpoint['cosignatures'] };
  }
  async putCosignature(runId: string, size: number, siteId: string, line: string) {
    this.#t.cosignatures.set(`${runId} ${pad(size)} ${siteId}`, canonicalJson({ siteId, line }));
  }
}

const distinctUploads = (uploads: readonly UploadRef[]): UploadRef[] =>
  [...new Map(uploads.map((u) => [`${u.siteId} ${u.sha256}`, u])).entries()]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, upload]) => upload);
