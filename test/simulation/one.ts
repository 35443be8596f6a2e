/** Simulates one object in this process, by the name of its file, and ends with `FOUND` where something does not hold. */
import './register.ts';
import { FOUND } from './mutations.ts';

const [, , object = ''] = process.argv;
// Loaded only now, so that what stands in for the runtime is found.
const { findFailure } = await import('./property.ts');
const { scenarios, simulate } = await import(`./${object}.ts`);
const failure = await findFailure(scenarios, simulate, { shrinks: false });
if (failure) {
  console.log(failure.message);
  process.exitCode = FOUND;
}
