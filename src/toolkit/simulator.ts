import { MODELS } from '../pricing/models.ts';
import { type SimulatorOptions as CoreOptions, createSimulator as createCore } from '../simulator/simulator.ts';
import { simulatedModels } from '../upstream/simulated-models.ts';

export type { SimulatedModel } from '../simulator/simulator.ts';

/** How a simulator behaves. */
export interface SimulatorOptions extends Omit<CoreOptions, 'models'> {
  /** The models that it knows. Default: those of Claude. */
  models?: CoreOptions['models'] | undefined;
}

/** Answers as `fetch` does that reaches the Claude API. */
export type SimulatedFetch = (input: string | URL | Request, init?: RequestInit) => Promise<Response>;

/**
 * Makes a Claude API in a function, for tests without a key and without a network:
 * `new Anthropic({ apiKey: 'any', fetch: createSimulator() })`. The same requests get the same answers.
 *
 * @param options `faults` is true where it is not said: the request header `sluice-simulate` provokes them
 */
export function createSimulator({ models, faults = true, ...options }: SimulatorOptions = {}): SimulatedFetch {
  const simulate = createCore({ ...options, faults, models: models ?? simulatedModels(MODELS) });
  return async (input, init) => await simulate(new Request(input, init));
}
