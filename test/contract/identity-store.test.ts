import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, describe, expect, test } from 'vitest';
import { IdentityService } from '../../coordinator/shell/identity-service.ts';
import {
  type IdentityStore,
  MemoryIdentityStore,
  SqliteIdentityStore,
} from '../../coordinator/shell/identity-store.ts';
import { createSigningKeys } from '../../shared/identity/keys.ts';
import { EMPTY_ROSTER } from '../../shared/identity/roster.ts';
import { codeOf } from '../support/wire-rig.ts';

const folder = mkdtempSync(join(tmpdir(), 'veilgan-identity-'));
afterAll(() => rmSync(folder, { recursive: true }));
let files = 0;

const STORES: [string, () => IdentityStore][] = [
  ['memory', () => new MemoryIdentityStore()],
  ['sqlite', () => new SqliteIdentityStore(join(folder, `${++files}.db`))],
];
const jti = '00000000-0000-4000-8000-000000000000';
const document = { invites: [{ jti, siteId: 'north', expMs: 5, usedBy: null }], roster: EMPTY_ROSTER, rosterJws: 'x' };
const clock = { now: () => 1_000 };

describe.each(STORES)('identity store: %s', (_, create) => {
  test('saves over the revision that was read, and over no other', async () => {
    const store = create();
    expect(await store.load()).toBeNull();
    expect(await store.save(document, 1)).toBe(false);
    expect(await store.save(document, 0)).toBe(true);
    expect(await store.load()).toEqual({ revision: 1, identity: document });
    expect(await store.save({ ...document, rosterJws: 'y' }, 0)).toBe(false);
    expect((await store.load())!.identity.rosterJws).toBe('x');
    expect(await store.save({ ...document, rosterJws: 'y' }, 1)).toBe(true);
    expect((await store.load())!.revision).toBe(2);
    expect(await store.save({ ...document, rosterJws: 'z' }, 1)).toBe(false);
    expect((await store.load())!.identity.rosterJws).toBe('y');
    await store.close();
  });

  test("two coordinators on one store lose none of each other's invites", async () => {
    const store = create();
    const keys = createSigningKeys();
    const [a, b] = [await IdentityService.open(keys, store, clock), await IdentityService.open(keys, store, clock)];
    const ask = (service: IdentityService, siteId: string) =>
      service.invite({ siteId, url: 'https://127.0.0.1', tlsFingerprint: null });
    await Promise.all([ask(a, 'north'), ask(b, 'south'), ask(a, 'west')]);
    expect((await store.load())!.identity.invites.map((i) => i.siteId).sort()).toEqual(['north', 'south', 'west']);
    await store.close();
  });

  test('a roster signed by another key is not opened', async () => {
    const store = create();
    const service = await IdentityService.open(createSigningKeys(), store, clock);
    await service.invite({ siteId: 'north', url: 'https://127.0.0.1', tlsFingerprint: null });
    expect(await codeOf(IdentityService.open(createSigningKeys(), store, clock))).toBe('STORE_CORRUPT');
    await store.close();
  });
});

test('sqlite: what was saved is there after reopening; what was damaged is refused', async () => {
  const path = join(folder, 'again.db');
  const first = new SqliteIdentityStore(path);
  await first.save(document, 0);
  await first.close();
  const second = new SqliteIdentityStore(path);
  expect((await second.load())!.identity).toEqual(document);
  await second.close();
  const db = new DatabaseSync(path);
  db.exec(`UPDATE identity SET document = '{"invites":[]}'`);
  db.close();
  const third = new SqliteIdentityStore(path);
  expect(await codeOf(third.load())).toBe('STORE_CORRUPT');
  await third.close();
});
