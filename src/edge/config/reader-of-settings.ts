import { getOrMake } from '../kit/cache/get-or-make.ts';

/** Makes the function that reads something from the settings of a deployment, once for each. */
export function readerOfSettings<T, Of extends { vars: object }>(read: (settings: Of) => T): (settings: Of) => T {
  const results = new WeakMap<object, T>();
  return (settings) => getOrMake(results, settings.vars, () => read(settings));
}
