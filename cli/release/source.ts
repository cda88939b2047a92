/** Where a release is taken from: a coordinator's folder, or the run folder of a demonstration or a simulation. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { FedError } from '../../shared/errors.ts';
import type { SigningKeys } from '../../shared/identity/keys.ts';
import type { CheckedPolicy } from '../../shared/policy/load.ts';
import { type CoordinatorFolder, existingSigningKeys, openCoordinator, releasesPath } from '../coordinator-folder.ts';
import { type StoredAt, storedAt } from '../coordinator-status.ts';
import { readPolicy } from '../options.ts';
import { simulatedCoordinator } from '../simulation.ts';

export interface ReleaseSource extends StoredAt {
  readonly policy: CheckedPolicy;
  readonly keys: SigningKeys;
  /** Where manifests are kept. */
  readonly releases: string;
  /** Null: a simulation, whose images were its owner's all along. */
  readonly coordinator: CoordinatorFolder | null;
}

/** @throws {FedError} PARAMETER_INVALID when it is none of these. */
export function openSource(dir: string): ReleaseSource {
  for (const folder of [dir, join(dir, 'coordinator')])
    if (existsSync(join(folder, 'coordinator.json'))) {
      const coordinator = openCoordinator(folder);
      const keys = existingSigningKeys(folder);
      return {
        ...storedAt(coordinator),
        policy: coordinator.policy,
        keys,
        releases: releasesPath(folder),
        coordinator,
      };
    }
  const simulated = simulatedCoordinator(join(dir, 'parties'));
  if (simulated === null)
    throw new FedError('PARAMETER_INVALID', `${dir} is no folder of a coordinator, a demonstration or a simulation`);
  const policy = readPolicy(join(dir, 'policy.json'));
  return { ...simulated, policy, releases: join(dir, 'releases'), coordinator: null };
}
