import { isUrlHost } from '../kit/http/headers/hosts.ts';
import { registerSecrets } from '../kit/http/secrets.ts';
import * as z from '../kit/http/zod.ts';
import { memoizeBySettings } from './memoize-by-settings.ts';
import { createMalformedSettingsError } from './setting-faults.ts';
import type { Settings } from './settings.ts';

const TOOL_SECRET_SETTING = /^TOOL_SECRET_([A-Z0-9_]+)$/;

const SECRET_NAME = /^[A-Z0-9_]{1,64}$/;
const MIN_SECRET_CHARACTERS = 16;

/** @returns the value of a header without a word such as `Bearer`: a text may quote it so. */
export function stripAuthScheme(value: string): string {
  return value.replace(/^\S+ +/, '');
}

/** @returns whether this is the name of a secret header of a tool. */
export function isToolSecret(name: string): boolean {
  return TOOL_SECRET_SETTING.test(name);
}

export type SecretSettings = Pick<Settings, 'vars' | 'development'>;

/**
 * Reads the settings `TOOL_SECRET_<NAME>`, each as `host=value`. In development short ones are taken, too, which cannot be masked
 * surely: each might be a part of any text.
 *
 * @returns the secrets by their names: `TOOL_SECRET_WEATHER` is `WEATHER`. Each goes to one host, with its port if that is not the
 *   usual one
 * @throws ApiError 500 that names a malformed one, never its value
 */
export const toolSecretsOf = memoizeBySettings(({ vars, development }: SecretSettings) => {
  const secrets: Record<string, { host: string; value: string }> = {};
  for (const [setting, text] of Object.entries(vars)) {
    const name = TOOL_SECRET_SETTING.exec(setting)?.[1];
    if (name === undefined || typeof text !== 'string') continue;
    const [, host = '', value = ''] = /^([^=]+)=([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)$/.exec(text) ?? [];
    if (!isUrlHost(host))
      throw createMalformedSettingsError(`${setting} (must be a host and a value, such as api.example.com=Bearer abc)`);
    if (!development && stripAuthScheme(value).length < MIN_SECRET_CHARACTERS) {
      throw createMalformedSettingsError(
        `${setting} (its value must have at least ${MIN_SECRET_CHARACTERS} characters, not counting \`Bearer\`)`,
      );
    }
    secrets[name] = { host, value };
  }
  return secrets;
});

/** What names a secret of the operator's. */
export const secretNameShape = {
  secret: z.addDescription(
    z.string().check(z.regex(SECRET_NAME, 'must be the name of a setting TOOL_SECRET_<NAME>, without TOOL_SECRET_')),
    'The name of the operator’s setting without its prefix: `SHOP` for `TOOL_SECRET_SHOP`.',
  ),
};

/** @returns why a secret may not go to a host; undefined if it may */
export function findSecretFault(name: string, host: string, settings: SecretSettings): string | undefined {
  const toolSecrets = toolSecretsOf(settings);
  if (Object.hasOwn(toolSecrets, name) && toolSecrets[name]?.host === host) return undefined;
  return `this edge has no TOOL_SECRET_${name} for this host; its operator can set it, as host=value`;
}

/** @returns the value of a secret, which is masked from now on where an answer repeats it. It must have been checked before */
export function readSecretValue(name: string, settings: SecretSettings): string {
  const { value = '' } = toolSecretsOf(settings)[name] ?? {};
  // An error may quote the secret without its scheme (such as `Bearer`), so mask both forms.
  registerSecrets(`TOOL_SECRET_${name}`, [value, stripAuthScheme(value)]);
  return value;
}
