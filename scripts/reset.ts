/** Deletes the local state of `npm start`: accounts, conversations, stored prefixes. Secrets stay. */
import { rm } from 'node:fs/promises';

await rm(new URL('../.wrangler/state', import.meta.url), { recursive: true, force: true });
console.log('Local state is forgotten.');
