interface ModuleRunner {
  import(id: string): Promise<unknown>;
}

/** What runs modules in the isolate of the tests; Vitest has no other way to it. */
declare const __vitest_mocker__: { moduleRunner: ModuleRunner };

const MAIN = new URL('../../src/index.ts', import.meta.url).pathname;

/**
 * Has the Worker's module found once for each file: for every call of an object the plugin asks the process of Vitest where it
 * is, and the call waits for that.
 */
export async function findWorkerOnce(): Promise<void> {
  const { moduleRunner } = __vitest_mocker__;
  const { import: find } = Object.getPrototypeOf(moduleRunner) as ModuleRunner;
  const found = await find.call(moduleRunner, MAIN);
  moduleRunner.import = async (id) => (id === MAIN ? found : await find.call(moduleRunner, id));
}
