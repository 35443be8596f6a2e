/** Deletes the local state of `npm start` and `wrangler dev`: accounts, conversations, stored prefixes. Secrets stay. */
import { rm } from 'node:fs/promises';
import { readArguments } from './arguments.ts';

readArguments('npm run reset', { options: {} });
await rm(new URL('../.wrangler/state', import.meta.url), { recursive: true, force: true });
console.log('Deleted all local state. If npm start is running, stop it and start it again.');
