import { createApp } from '#edge/app.ts';
import { PLUGINS } from '#edge/plugins.ts';

/** The edge without accounts: what relaying alone costs. */
export default { fetch: createApp({ plugins: PLUGINS, isUnmetered: true }).fetch };
