/** Simulates one object in this process, by its name, and ends with `FOUND` where something does not hold. */
import './register.ts';
import { FOUND } from './mutations.ts';

// Loaded only now, so that what stands in for the runtime is found.
const objects = {
  conversation: () => import('./conversation.ts'),
  account: () => import('./account.ts'),
  settling: () => import('./settling.ts'),
  inbox: () => import('./inbox.ts'),
  approvals: () => import('./approvals.ts'),
  pool: () => import('./pool.ts'),
};

const [, , name = ''] = process.argv;
if (!(name in objects)) throw new Error(`There is no ${name}: name one of ${Object.keys(objects).join(', ')}.`);
const { find } = await objects[name as keyof typeof objects]();
const failure = await find({ shrinks: false });
if (failure) {
  console.log(failure.message);
  process.exitCode = FOUND;
}
