import { type DurableObjectServices, EdgeDurableObject } from '../durable/edge-object.ts';
import { getUpstreamBySettings, type Upstream } from './upstream.ts';

/** The services that a Durable Object which calls the upstream passes to its modules. */
export interface UpstreamObjectServices extends DurableObjectServices {
  getUpstream(): Upstream;
}

/** The base class of objects that call the upstream themselves. Tests replace the upstream. */
export abstract class UpstreamDurableObject extends EdgeDurableObject {
  declare protected readonly services: UpstreamObjectServices;

  constructor(...args: ConstructorParameters<typeof EdgeDurableObject>) {
    super(...args);
    Object.assign(this.services, { getUpstream: () => this.upstream() });
  }

  protected upstream(): Upstream {
    return getUpstreamBySettings(this.settings());
  }
}
