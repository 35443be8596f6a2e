import { DurableObject } from 'cloudflare:workers';

/**
 * Is left of the object that knew which batch of an upstream was whose. The next release deletes the class. Meanwhile it lets
 * objects of the last release send what they have. What is lost there they hold until they are of this release.
 *
 * @example export { BatchClaims } from 'sluice';
 */
export class BatchClaims extends DurableObject {
  begin(): void {}

  claim(): boolean {
    return true;
  }

  end(): void {}
}
