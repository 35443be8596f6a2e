/**
 * Mints a credential from the command line and prints it alone on the last line:
 * `npm run token -- --account alice --scopes messages,classify [--expires-in 3600] [--label laptop]`.
 */
import { parseArgs } from 'node:util';
import { isAccount, MAX_ACCOUNT_CHARACTERS } from '../src/auth/identity.ts';
import { parseScopes, SCOPES } from '../src/auth/scopes.ts';
import { mintToken } from '../src/auth/tokens.ts';
import { readDevVars } from './dev-vars.ts';

const { values } = parseArgs({
  options: {
    account: { type: 'string' },
    scopes: { type: 'string', default: 'messages,classify' },
    'expires-in': { type: 'string' },
    label: { type: 'string' },
  },
});

const { account } = values;
if (!isAccount(account)) stop(`Name the account, 1 to ${MAX_ACCOUNT_CHARACTERS} characters: --account alice`);
const names = values.scopes.split(',').map((name) => name.trim());
const scopes = parseScopes(names);
if (scopes.length !== new Set(names).size) stop(`Scopes are ${SCOPES.join(', ')}: --scopes messages,classify`);
const expiresIn = values['expires-in'] === undefined ? undefined : Number(values['expires-in']);
if (expiresIn !== undefined && !(Number.isInteger(expiresIn) && expiresIn > 0)) {
  stop('A lifetime is a whole number of seconds: --expires-in 3600');
}
const secret = process.env.SIGNING_SECRET || (await readDevVars()).SIGNING_SECRET;
if (!secret)
  stop('There is no SIGNING_SECRET in the environment or in .dev.vars. `npm start` makes one for development.');

const { token } = await mintToken(secret, { account, scopes, expiresIn, label: values.label });
console.log(token);

function stop(sentence: string): never {
  console.error(sentence);
  process.exit(1);
}
