import { getOrCreate } from '../kit/cache/get-or-create.ts';

/** Makes the function that reads something from the settings of a deployment, once for each. */
export function memoizeBySettings<T, Of extends { vars: object }>(read: (settings: Of) => T): (settings: Of) => T {
  const results = new WeakMap<object, T>();
  return (settings) => getOrCreate(results, settings.vars, () => read(settings));
}
