import * as z from '../../kit/http/zod.ts';
import { anthropicKind } from './anthropic.ts';
import { oneOf } from './fields.ts';
import { defineKind, type Endpoint, type Kind } from './kind.ts';

/** What a kind needs to be opened where the simulator answers. No key is a real one. */
export const SIMULATED = {
  host: 'simulator.invalid',
  region: 'us-east-1',
  key: 'simulator',
  /** An access key to sign with. The simulator does not know the secret, and checks everything else. */
  signer: 'AKIASIMULATOR0000000:the/secret/of/the/simulator/is/no/secret',
} as const;

export interface SimulatedKind {
  open(key: string): Endpoint;
  /** Whether it can sign its calls. */
  signs?: true;
}

const simulatedApi: SimulatedKind = {
  open: () => anthropicKind.open({ base_url: `https://${SIMULATED.host}` }, SIMULATED.key),
};

/**
 * Makes the kind of the built-in simulator. It answers without a key.
 *
 * @param others the kinds that it can play beside the Claude API, by their names
 */
export function simulatorKind(others: Readonly<Record<string, SimulatedKind>>): Kind {
  const played: Readonly<Record<string, SimulatedKind>> = { anthropic: simulatedApi, ...others };
  return defineKind({
    fields: {
      as: z._default(
        oneOf(() => played),
        'anthropic',
      ),
      signs: z._default(z.boolean(), false),
    },
    fault: ({ as, signs }) => {
      const signing = Object.keys(played).filter((name) => played[name]?.signs);
      return signs && !signing.includes(as) ? `signs as ${signing.join(' or ')} only` : undefined;
    },
    keyless: true,
    simulated: true,
    open: ({ as, signs }) => {
      const kind = played[as];
      if (!kind) throw new TypeError(`The simulator plays no ${as}.`);
      return kind.open(signs ? SIMULATED.signer : SIMULATED.key);
    },
  });
}
