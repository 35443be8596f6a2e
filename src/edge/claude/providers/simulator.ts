import { anthropicKind } from './anthropic.ts';
import { defineKind } from './kind.ts';

/** The built-in simulator. It answers without a key, in development only. */
export const simulatorKind = defineKind({
  fields: {},
  keyless: true,
  simulated: true,
  open: () => anthropicKind.open({ base_url: 'https://simulator.invalid' }, 'simulator'),
});
