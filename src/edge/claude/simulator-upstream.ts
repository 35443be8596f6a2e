import { createSimulator } from '../../simulator/simulator.ts';
import type { Settings } from '../config/settings.ts';
import { refusedSchemas } from './request/refused-schemas.ts';
import { simulatedModels } from './simulated-models.ts';
import { simulatorStoreIn } from './simulator-store.ts';
import { byteBody, type Upstream } from './upstream.ts';

/** @returns the built-in simulator as an upstream, at the pace of the settings */
export function simulatorUpstream(settings: Settings): Upstream {
  const simulate = createSimulator({
    models: simulatedModels(settings.models.rows),
    refusedSchemas,
    ttftMs: settings.SIMULATOR_TTFT_MS,
    tokensPerSecond: settings.SIMULATOR_TOKENS_PER_SECOND,
    batchMs: settings.SIMULATOR_BATCH_MS,
    store: simulatorStoreIn(settings.simulatorStore),
    faults: settings.development,
  });
  return {
    baseURL: 'https://simulator.invalid',
    apiKey: 'simulator',
    fetch: async (url, init) => byteBody(await simulate(new Request(url, init)), true),
    simulated: true,
  };
}
