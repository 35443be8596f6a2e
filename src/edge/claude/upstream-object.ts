import { EdgeObject, type ObjectServices } from '../durable/edge-object.ts';
import { type Upstream, upstreamOf } from './upstream.ts';

/** What an object that calls the upstream passes to the modules that do its work. */
export interface UpstreamObjectServices extends ObjectServices {
  upstream(): Upstream;
}

/** The base class of objects that call the upstream themselves. Tests replace the upstream. */
export abstract class UpstreamObject extends EdgeObject {
  declare protected readonly services: UpstreamObjectServices;

  constructor(...args: ConstructorParameters<typeof EdgeObject>) {
    super(...args);
    Object.assign(this.services, { upstream: () => this.upstream() });
  }

  protected upstream(): Upstream {
    return upstreamOf(this.settings());
  }
}
