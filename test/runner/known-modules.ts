/** What runs modules in the isolate of the tests; Vitest has no other way to it. */
declare const __vitest_mocker__: { moduleRunner: { import(id: string): Promise<unknown> } };

const MAIN = new URL('../../src/index.ts', import.meta.url).pathname;

/**
 * Has the Worker’s module found once: for every call of an object the plugin asks the process of Vitest where it is,
 * and the call waits for that.
 */
export async function findWorkerOnce(): Promise<void> {
  const { moduleRunner } = __vitest_mocker__;
  if (Object.hasOwn(moduleRunner, 'import')) return;
  const found = await moduleRunner.import(MAIN);
  const { import: find } = moduleRunner;
  moduleRunner.import = async (id) => (id === MAIN ? found : await find.call(moduleRunner, id));
}
