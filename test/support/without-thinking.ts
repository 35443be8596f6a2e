import { createSimulator, type SimulatedFetch, type SimulatorOptions } from '#edge/toolkit/simulator.ts';

/** Has a simulator never think, unless a request asks for it: for tests that are not about thinking, and have no tokens for it. */
export function disableThinking(fetch: (request: Request) => Promise<Response>): SimulatedFetch {
  return async (input, init) => {
    const request = new Request(input, init);
    const asked = request.headers.get('sluice-simulate') ?? '';
    if (!asked.includes('thinking=')) request.headers.set('sluice-simulate', `${asked};thinking=0`);
    return await fetch(request);
  };
}

/** A simulator whose models never think. */
export function createSimulatorWithoutThinking(options: SimulatorOptions = {}): SimulatedFetch {
  return disableThinking(createSimulator(options));
}
