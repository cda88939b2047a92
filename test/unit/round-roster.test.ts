import { expect, test } from 'vitest';
import { sha256Hex } from '../../shared/audit/canonical.ts';
import { rosterSeen, rosterText, withSite } from '../../shared/identity/roster.ts';
import type { Roster } from '../../shared/identity/roster.ts';
import { createSiteKeys, publicKeys } from '../../shared/identity/keys.ts';
import type { CoordinatorLink } from '../../shared/protocol/link.ts';
import { Outbox } from '../../site-agent/shell/outbox.ts';
import { RosterKeeper } from '../../site-agent/shell/roster-keeper.ts';
import { castOf } from '../support/round-rig.ts';
import { codeOf } from '../support/wire-rig.ts';

/** A coordinator that serves these texts by their hash, and counts how often it was asked. */
function serving(...texts: string[]): { link: CoordinatorLink; asked: () => number } {
  let asked = 0;
  const link: CoordinatorLink = {
    async call(_type, payload) {
      asked += 1;
      const { sha256 } = payload as { sha256: string };
      const data = Buffer.from(texts.find((text) => sha256Hex(text) === sha256) ?? texts[0]);
      return { bytes: data.length, chunkSha256: sha256Hex(data), data };
    },
    onWake: () => () => undefined,
    close: async () => undefined,
  };
  return { link, asked: () => asked };
}
const { roster } = castOf(3);
const newer: Roster = withSite(roster, 'site-d', publicKeys(createSiteKeys()));
const planOf = (r: Roster) => ({ roster: rosterSeen(r) });

test('a plan’s roster is fetched once, kept over a restart, and replaced by a newer one', async () => {
  const outbox = new Outbox(':memory:');
  const { link, asked } = serving(rosterText(roster), rosterText(newer));
  expect(await new RosterKeeper(link, outbox).of(planOf(roster))).toEqual(roster);
  expect(await new RosterKeeper(link, outbox).of(planOf(roster))).toEqual(roster);
  expect(asked()).toBe(1);
  expect(await new RosterKeeper(link, outbox).of(planOf(newer))).toEqual(newer);
  expect(await codeOf(new RosterKeeper(link, outbox).of(planOf(roster)))).toBe('ROSTER_STALE');
});

test('what a site saw when it joined is behind every plan', async () => {
  const { link } = serving(rosterText(roster));
  const keeper = new RosterKeeper(link, new Outbox(':memory:'), rosterSeen(newer));
  expect(await codeOf(keeper.of(planOf(roster)))).toBe('ROSTER_STALE');
});

test('bytes that are not the roster named are refused', async () => {
  const forged = rosterText({ ...roster, sites: roster.sites.slice(1) });
  const { link } = serving(forged);
  expect(await codeOf(new RosterKeeper(link, new Outbox(':memory:')).of(planOf(roster)))).toBe('TENSOR_CORRUPT');
  const liar = serving(rosterText(roster));
  const { sha256 } = rosterSeen(roster);
  const other = { roster: { version: 99, sha256 } };
  expect(await codeOf(new RosterKeeper(liar.link, new Outbox(':memory:')).of(other))).toBe('MESSAGE_INVALID');
});

test('a roster is read once, and anew when its text is another', async () => {
  const outbox = new Outbox(':memory:');
  const keeper = new RosterKeeper(serving(rosterText(roster), rosterText(newer)).link, outbox);
  const first = await keeper.of(planOf(roster));
  expect(await keeper.of(planOf(roster))).toBe(first);
  expect(Object.isFrozen(first.sites[0])).toBe(true);
  expect(await keeper.of(planOf(newer))).toEqual(newer);
});
