import { EdgeObject, type Surroundings } from '../durable/edge-object.ts';
import { type Upstream, upstreamOf } from './upstream.ts';

/** What an object that calls the upstream passes to the modules that do its work. */
export interface CallingSurroundings extends Surroundings {
  upstream(): Upstream;
}

/** The base class of objects that call the upstream themselves. Tests replace the upstream. */
export abstract class CallingObject extends EdgeObject {
  declare protected readonly around: CallingSurroundings;

  constructor(...args: ConstructorParameters<typeof EdgeObject>) {
    super(...args);
    Object.assign(this.around, { upstream: () => this.upstream() });
  }

  protected upstream(): Upstream {
    return upstreamOf(this.settings());
  }
}
