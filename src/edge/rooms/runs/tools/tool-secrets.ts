import { readerOfSettings } from '../../../gate/settings/reader-of-settings.ts';
import { malformed } from '../../../gate/settings/setting-faults.ts';
import type { Settings } from '../../../gate/settings/settings.ts';
import { isHost } from '../../../kit/http/headers/hosts.ts';

const SETTING = /^TOOL_SECRET_([A-Z0-9_]+)$/;

const LEAST_CHARACTERS = 16;

/** @returns the value of a header without a word such as `Bearer`: a text may quote it so. */
export function withoutScheme(value: string): string {
  return value.replace(/^\S+ +/, '');
}

/** @returns whether this is the name of a secret header of a tool. */
export function isToolSecret(name: string): boolean {
  return SETTING.test(name);
}

export type SecretSettings = Pick<Settings, 'given' | 'development'>;

/**
 * Reads the settings `TOOL_SECRET_<NAME>`, each as `host=value`. In development short ones are taken, too, which cannot be masked
 * surely: each might be a part of any text.
 *
 * @returns the secrets by their names: `TOOL_SECRET_WEATHER` is `WEATHER`. Each goes to one host, with its port if that is not the
 *   usual one
 * @throws ApiError 500 that names a malformed one, never its value
 */
export const toolSecretsOf = readerOfSettings(({ given, development }: SecretSettings) => {
  const secrets: Record<string, { host: string; value: string }> = {};
  for (const [setting, text] of Object.entries(given)) {
    const name = SETTING.exec(setting)?.[1];
    if (name === undefined || typeof text !== 'string') continue;
    const [, host = '', value = ''] = /^([^=]+)=([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)$/.exec(text) ?? [];
    if (!isHost(host)) throw malformed(`${setting} (must be a host and a value, such as api.example.com=Bearer abc)`);
    if (!development && withoutScheme(value).length < LEAST_CHARACTERS) {
      throw malformed(`${setting} (its value must have at least ${LEAST_CHARACTERS} characters, without Bearer)`);
    }
    secrets[name] = { host, value };
  }
  return secrets;
});
