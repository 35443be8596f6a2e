import { beforeAll } from 'vitest';

interface ModuleRunner {
  import(id: string): Promise<unknown>;
}

/** What runs modules in the isolate of the tests; Vitest has no other way to it. */
declare const __vitest_mocker__: { moduleRunner: ModuleRunner };

const MAIN = new URL('../../src/edge/index.ts', import.meta.url).pathname;

// For every call of an object the plugin asks the process of Vitest where the Worker's module is, and the call waits for that.
// Each file finds it once.
beforeAll(async () => {
  const { moduleRunner } = __vitest_mocker__;
  const { import: find } = Object.getPrototypeOf(moduleRunner) as ModuleRunner;
  const found = await find.call(moduleRunner, MAIN);
  moduleRunner.import = async (id) => (id === MAIN ? found : await find.call(moduleRunner, id));
});
