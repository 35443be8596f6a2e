import { type SimulatorOptions as CoreOptions, createSimulator as createCore } from '../../simulator/simulator.ts';
import { MODELS } from '../claude/models/models.ts';
import { findRejectedSchemaParts } from '../claude/request/schema-faults.ts';
import { toSimulatedModels } from '../claude/simulated-models.ts';

export type { SimulatedModel } from '../../simulator/simulator.ts';

/** How a simulator behaves. */
export interface SimulatorOptions extends Omit<CoreOptions, 'models' | 'refusedSchemas'> {
  /** The models that it simulates. Default: those of Claude. */
  models?: CoreOptions['models'] | undefined;
}

/** Answers like a `fetch` to the Claude API. */
export type SimulatedFetch = (input: string | URL | Request, init?: RequestInit) => Promise<Response>;

/**
 * Makes a simulator of the Claude API, for tests without a key and without a network. Equal requests get equal answers.
 *
 * @param options `faults` is true by default: the request header `sluice-simulate` provokes faults
 * @example
 * import Anthropic from '@anthropic-ai/sdk';
 * const claude = new Anthropic({ apiKey: 'any', fetch: createSimulator() });
 * const { content } = await claude.messages.create({ model: 'claude-haiku-5-5', max_tokens: 4_000, messages });
 * show(content);
 */
export function createSimulator({ models, faults = true, ...options }: SimulatorOptions = {}): SimulatedFetch {
  const simulate = createCore({
    ...options,
    refusedSchemas: findRejectedSchemaParts,
    faults,
    models: models ?? toSimulatedModels(MODELS),
  });
  return async (input, init) => await simulate(new Request(input, init));
}
