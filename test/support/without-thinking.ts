import { createSimulator, type SimulatedFetch, type SimulatorOptions } from '../../src/toolkit/simulator.ts';

/** A simulator whose models never think: for what is not about thinking, and has no room for it. */
export function simulatorWithoutThinking(options: SimulatorOptions = {}): SimulatedFetch {
  return createSimulator({ thinkingTokens: 0, ...options });
}
