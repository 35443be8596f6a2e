/** Has Node find what the runtime has of its own. Loaded before anything of the objects. */
import { registerHooks } from 'node:module';

registerHooks({
  resolve: (specifier, context, next) =>
    specifier === 'cloudflare:workers'
      ? { url: new URL('./workers.ts', import.meta.url).href, shortCircuit: true }
      : next(specifier, context),
});
