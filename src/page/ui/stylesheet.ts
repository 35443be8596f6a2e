const loading = new Map<string, Promise<void>>();

/** Loads a stylesheet that only a part of the page needs, once. The styles of the page take precedence over it. */
export function loadStylesheet(path: string): Promise<void> {
  const known = loading.get(path);
  if (known !== undefined) return known;
  const link = Object.assign(document.createElement('link'), { rel: 'stylesheet', href: path });
  const loaded = new Promise<void>((resolve, reject) => {
    link.onload = () => resolve();
    link.onerror = () => {
      link.remove();
      loading.delete(path);
      reject(new Error(`${path} is not loaded`));
    };
  });
  loading.set(path, loaded);
  document.head.append(link);
  return loaded;
}
