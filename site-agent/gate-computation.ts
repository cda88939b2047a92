/**
 * The release gate's question at one site: the synthetic images are drawn here, held against this site's patients, and
 * two words come out. Scores, sums and counts stay inside. Not audited.
 */
import type { PrivacyEvent } from '../shared/dp/event.ts';
import { latticeGaussian } from '../shared/dp/gaussian.ts';
import type { Engine } from '../shared/engine/program.ts';
import type { GateWords } from '../shared/gate/outcome.ts';
import { type Candidate, candidateOf } from '../shared/gate/candidate.ts';
import { drawCandidate } from '../shared/gate/draw.ts';
import { Nearness } from '../shared/gate/scores.ts';
import { gateSum, gateWords } from '../shared/gate/words.ts';
import type { LabelledImages } from '../shared/imaging/images.ts';
import { gateEventOf } from '../shared/policy/cost.ts';
import type { DeepReadonly } from '../shared/policy/freeze.ts';
import type { ReleaseGate } from '../shared/policy/gate-schema.ts';
import type { CheckedPolicy } from '../shared/policy/load.ts';
import type { RandomBytes } from '../shared/random.ts';
import type { GateComputation } from './core/computation.ts';
import type { Split } from './core/hold-out.ts';
import type { PrivateImages } from './imaging/private-images.ts';

export interface GateParts {
  readonly engine: Engine;
  readonly policy: CheckedPolicy;
  readonly gate: DeepReadonly<ReleaseGate>;
  readonly split: Split;
  readonly random: RandomBytes;
}

export class SiteGate implements GateComputation {
  readonly #p: GateParts;

  constructor(p: GateParts) {
    this.#p = p;
  }

  event(): PrivacyEvent {
    return gateEventOf(this.#p.gate, 1);
  }

  expected(of: Candidate): Candidate {
    return candidateOf(this.#p.policy, of);
  }

  draw(released: Float32Array, candidate: Candidate): Promise<LabelledImages> {
    return drawCandidate(this.#p.engine, this.#p.policy, released, candidate);
  }

  async words(synthetic: LabelledImages): Promise<GateWords> {
    const { engine, policy, gate, split, random } = this.#p;
    const nearness = new Nearness(engine, synthetic, gate.memorisation.distance);
    const { imagesPerPatient } = policy.privacy;
    // The images that training uses, and of those held out as many.
    const of = (images: PrivateImages) =>
      nearness.scores(
        images,
        images.patientGroups.map((patient) => patient.images.slice(0, imagesPerPatient)),
      );
    const sum = gateSum(gate, await of(split.training), await of(split.heldOut));
    return gateWords(gate, sum, latticeGaussian(random));
  }
}
