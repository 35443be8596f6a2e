/**
 * Has Node find what the runtime has of its own, and puts the mistake of the environment variable MUTATION into the
 * source as it is loaded: no file is changed. Loaded before anything of the objects.
 */
import { registerHooks } from 'node:module';
import { MUTATIONS } from './mutations.ts';

const mutation = MUTATIONS.find(({ name }) => name === process.env.MUTATION);

registerHooks({
  resolve: (specifier, context, next) =>
    specifier === 'cloudflare:workers'
      ? { url: import.meta.resolve('./workers.ts'), shortCircuit: true }
      : next(specifier, context),
  load: (url, context, next) => {
    const loaded = next(url, context);
    if (!mutation || !url.endsWith(mutation.file)) return loaded;
    let source = String(loaded.source);
    for (const [right, wrong] of mutation.edits) {
      if (source.split(right).length !== 2) throw new Error(`${mutation.name}: not found once: ${right}`);
      source = source.replace(right, () => wrong);
    }
    return { ...loaded, source };
  },
});
