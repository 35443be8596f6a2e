/**
 * Mints a credential from the command line, and prints it as the last line:
 * `npm run token -- --account alice --scopes messages,classify [--expires-in 3600] [--label laptop]`; a restricted token by
 * `--agents support --classifiers tickets --conversations 'web-*'`. If the token expires, stderr contains the time.
 */

import {
  isAccountName,
  isSourceAccount,
  MAX_ACCOUNT_CHARACTERS,
  parseScopes,
  SCOPES,
} from '../src/edge/auth/identity/identity.ts';
import { onlySchema, RESTRICTED_SCOPES } from '../src/edge/auth/identity/only.ts';
import { mintToken } from '../src/edge/auth/mint.ts';
import { settingsSchema } from '../src/edge/config/settings.ts';
import * as z from '../src/edge/kit/http/zod.ts';
import { readArguments } from './arguments.ts';
import { readDevVars } from './dev-vars.ts';

const USAGE =
  'npm run token -- --account alice --scopes messages,classify [--expires-in 3600] [--label laptop] [--agents a,b] [--classifiers c] [--conversations web-*]';

const { values } = readArguments(USAGE, {
  options: {
    account: { type: 'string' },
    scopes: { type: 'string', default: 'messages,classify' },
    'expires-in': { type: 'string' },
    label: { type: 'string' },
    agents: { type: 'string' },
    classifiers: { type: 'string' },
    conversations: { type: 'string' },
  },
});
const { account } = values;
if (!isAccountName(account))
  stop(`--account: required, 1 to ${MAX_ACCOUNT_CHARACTERS} characters. For example: --account alice`);
if (isSourceAccount(account))
  stop('--account: accounts named webhook-… pay for webhooks and cannot log in. Use another account.');
const names = values.scopes.split(',').map((name) => name.trim());
const scopes = parseScopes(names);
if (scopes.length !== new Set(names).size)
  stop(`--scopes: must be some of ${SCOPES.join(', ')}. For example: --scopes messages,classify`);
const expiresIn = values['expires-in'] === undefined ? undefined : Number(values['expires-in']);
if (expiresIn !== undefined && !(Number.isInteger(expiresIn) && expiresIn > 0)) {
  stop('--expires-in: must be a whole number of seconds. For example: --expires-in 3600');
}
const lists = Object.fromEntries(
  (['agents', 'classifiers', 'conversations'] as const).flatMap((name) => {
    const list = values[name]?.split(',').map((one) => one.trim());
    return list ? [[name, list]] : [];
  }),
);
const { data: only, error } = z.optional(onlySchema).safeParse(Object.keys(lists).length > 0 ? lists : undefined);
if (error) stop(error.issues.map(({ path, message }) => `--${String(path[0] ?? 'agents')}: ${message}.`).join(' '));
const wide = only && scopes.find((scope) => !RESTRICTED_SCOPES.includes(scope));
if (wide) stop(`--scopes: a restricted token supports only ${RESTRICTED_SCOPES.join(' and ')}. Remove ${wide}.`);
const secret = process.env.SIGNING_SECRET || (await readDevVars()).SIGNING_SECRET;
if (!secret) {
  stop(
    'SIGNING_SECRET is not set in the environment or in .dev.vars. For development, npm start creates one. For a deployment, set its secret in the environment.',
  );
}
if (!settingsSchema.shape.SIGNING_SECRET.safeParse(secret).success) {
  stop('SIGNING_SECRET must have at least 32 characters. Set a longer one.');
}

const { token, expires_at } = await mintToken(secret, { account, scopes, expiresIn, label: values.label, only });
// On stderr, so that the output is only the token.
if (expires_at !== undefined) console.error(`The token expires at ${new Date(expires_at * 1_000).toISOString()}.`);
console.log(token);

function stop(sentence: string): never {
  console.error(sentence);
  process.exit(1);
}
