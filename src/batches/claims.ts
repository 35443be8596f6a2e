import { DurableObject } from 'cloudflare:workers';

/**
 * Is left of the object that knew which batch of an upstream was whose. The next release deletes the class. Meanwhile objects
 * of the last release get answers by which they go on, and prove nothing.
 *
 * @example export { BatchClaims } from 'sluice';
 */
export class BatchClaims extends DurableObject {
  begin(): void {}

  claim(): boolean {
    return true;
  }

  prove(): 'unclear' {
    return 'unclear';
  }

  release(): void {}

  end(): void {}

  choose(_: string, candidates: { id: string }[]): { free: string[] } {
    return { free: candidates.map(({ id }) => id) };
  }
}
