/** @returns a namespace of objects that notes the name of each object that is asked for */
export function counting<T extends object>(namespace: T, calls: string[]): T {
  return new Proxy<T>(namespace, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name);
      if (name !== 'get') return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      return (id: DurableObjectId) => {
        calls.push(id.name ?? '');
        return (value as (id: DurableObjectId) => unknown).call(target, id);
      };
    },
  });
}
