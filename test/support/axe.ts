import axe from 'axe-core';
import type { Page } from 'playwright-core';

/** What somebody cannot use. */
export interface Barrier {
  /** The name of the rule. */
  id: string;
  impact: axe.ImpactValue | undefined;
  /** The elements, as they stand in the page. */
  html: string[];
}

/**
 * Has axe look at a page for what breaks its rules. What it finds right is not described: that takes as long again.
 *
 * @param within selects a part of the page; absent for all of it
 */
export async function findBarriers(page: Page, within?: string): Promise<Barrier[]> {
  if (!(await page.evaluate(() => 'axe' in globalThis))) await page.evaluate(axe.source);
  return await page.evaluate(async (selector) => {
    const { run } = (globalThis as unknown as { axe: typeof axe }).axe;
    const runAxe = async () => {
      // The page learns with a frame what does not fit: a box that scrolls is reached by the keyboard from then on.
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      const options = { resultTypes: ['violations' as const] };
      return (await run(selector === undefined ? document : { include: [selector] }, options)).violations;
    };
    let violations = await runAxe();
    // What came while it looked has had no frame yet: a barrier is what is still there.
    if (violations.length > 0) violations = await runAxe();
    return violations.map(({ id, impact, nodes }) => ({ id, impact, html: nodes.map(({ html }) => html) }));
  }, within);
}
