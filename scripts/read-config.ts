/** Reads the configuration of the Worker as wrangler reads it. To load wrangler takes half a second. */
import { unstable_readConfig } from 'wrangler';

/**
 * @param config the path of a wrangler.toml
 * @param env the name of one of its environments; undefined for what stands at its top
 * @throws Error in wrangler's words, where it is malformed or has no such environment
 */
export function readConfig(config: string, env: string | undefined): ReturnType<typeof unstable_readConfig> {
  return unstable_readConfig({ config, env }, { hideWarnings: true });
}
