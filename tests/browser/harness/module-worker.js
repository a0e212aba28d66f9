// The compiled module on its own. Runs one of its self-tests, chosen by name.

import init, { Device } from '/package/wasm/alignatt.js';

onmessage = async ({ data: { what, count } }) => {
  try {
    await init();
    const device = await Device.open('webgpu');
    const result = what === 'self_test' ? await device.self_test() : await device.launch_cost(count);
    postMessage({ name: device.name, result: JSON.parse(result) });
  } catch (error) {
    postMessage({ error: `${error.code}: ${error.message}` });
  }
};
