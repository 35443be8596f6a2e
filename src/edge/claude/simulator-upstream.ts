import { createSimulator } from '../../simulator/simulator.ts';
import type { Settings } from '../config/settings.ts';
import { findRejectedSchemaParts } from './request/schema-faults.ts';
import { toSimulatedModels } from './simulated-models.ts';
import { createSimulatorStore } from './simulator-store.ts';
import { toResponseWithByteStream, type Upstream } from './upstream.ts';

/** @returns the built-in simulator as an upstream, at the pace of the settings */
export function createSimulatorUpstream(settings: Settings): Upstream {
  const simulate = createSimulator({
    models: toSimulatedModels(settings.models.rows),
    refusedSchemas: findRejectedSchemaParts,
    ttftMs: settings.SIMULATOR_TTFT_MS,
    tokensPerSecond: settings.SIMULATOR_TOKENS_PER_SECOND,
    batchMs: settings.SIMULATOR_BATCH_MS,
    store: createSimulatorStore(settings.simulatorStore),
    faults: settings.development,
  });
  return {
    baseURL: 'https://simulator.invalid',
    apiKey: 'simulator',
    fetch: async (url, init) => toResponseWithByteStream(await simulate(new Request(url, init)), true),
    isSimulated: true,
  };
}
