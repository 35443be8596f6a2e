import { hasPlugin } from '../kit/plugins/plugins.ts';

/** The plugin without which a setting of the core has no effect. */
const PLUGIN_BY_SETTING: Readonly<Record<string, string>> = {
  MAX_BATCH_BYTES: 'batches',
  BATCH_DELIVER_URL: 'batches',
  MAX_FILE_BYTES: 'files',
  TOOL_HOSTS: 'runs',
  TOOL_SIGNING_SECRET: 'runs',
  VISITORS: 'visitors',
  TURNSTILE_SECRET: 'visitors',
  DEPLOYMENT_LIMITS: 'pools',
  ALERT_URL: 'webhooks',
};

/** @returns a sentence for each setting of a plugin that is not in use */
export function findUnusedSettings(vars: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(PLUGIN_BY_SETTING)
    .filter(([name, plugin]) => (vars[name] ?? '') !== '' && !hasPlugin(plugin))
    .map(([name, plugin]) => {
      return `${name} is set, but this Worker does not include the plugin ${plugin}, which reads it. Add the plugin to the list, or remove the setting.`;
    });
}
