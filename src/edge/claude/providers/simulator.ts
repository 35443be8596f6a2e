import { anthropicProvider } from './anthropic.ts';
import { defineProvider } from './provider.ts';

/** The built-in simulator. It answers without a key, in development only. */
export const simulatorProvider = defineProvider({
  fields: {},
  keyless: true,
  simulated: true,
  createAdapter: () => anthropicProvider.createAdapter({ base_url: 'https://simulator.invalid' }, 'simulator'),
});
